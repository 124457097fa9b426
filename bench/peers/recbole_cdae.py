"""RecBole's CDAE and its trainer, an epoch over all users."""

from __future__ import annotations

from pathlib import Path

from advrec.data import Dataset
from bench.peers.recbole import alone, config_of, write_files


class RecBoleCDAE:
    """With its default losses and corruption, and a width and batch that are given."""

    def __init__(self, dataset: Dataset, folder: Path, *, dim: int, batch_size: int, lr: float):
        self._folder = folder
        write_files(folder, dataset.train, dataset.test)
        with alone(folder):
            config = config_of(
                "CDAE",
                folder,
                train_neg_sample_args=None,
                train_batch_size=batch_size,
                embedding_size=dim,
                learning_rate=lr,
                loss_type="BCE",
            )
            from recbole.data import create_dataset, data_preparation
            from recbole.model.general_recommender.cdae import CDAE
            from recbole.trainer import Trainer

            data = create_dataset(config)
            self._train, _, _ = data_preparation(config, data)
            self._trainer = Trainer(config, CDAE(config, self._train.dataset))
        self._epochs = 0

    def epoch(self) -> None:
        """As its trainer makes it."""
        with alone(self._folder):
            self._trainer._train_epoch(self._train, self._epochs, show_progress=False)
        self._epochs += 1
