"""Run folders with damaged and forged files, through every command that reads one.

    python tests/support/fuzz_runs.py --count 1000 --seed 1

A forged file has checksums that fit, so that its content reaches whatever uses it. Whatever stands
there, a command works or says one sentence: never "this is a bug in advrec", and it never hangs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from advrec.config.file import tomllib

COMMITTED = ("config.toml", "ids.json", "model.safetensors", "state.safetensors")
FILES = (*COMMITTED, "state.json", "metrics.jsonl", "attack.json", "eval.json")
MODELS = {
    "mf": {},
    "lightgcn": {},
    "vbpr": {"features": "features.csv"},
    "cdae": {},
    "neumf": {},
    "ngcf": {},
    "gnnguard": {},
}
LIMIT = 30  # seconds of a command
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**32 - 1, 2**63, 10**30, 10**5000),
    *(0.5, -0.5, 1e-308, 1e30, 1e308, math.inf, -math.inf, math.nan),
    *("", "x", "mf", "\x1b[2J", "../../x", "[red]", "9" * 5000, "\u202e", "a\nb", "/", "\0"),
    *([], {}, [1], [[1]], {"x": 1}, ["x"], {"users": 1, "items": 2}),
)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "RUN"),
    ("runs", "RUN", "--json"),
    ("eval", "RUN", "-k", "3"),
    ("attack", "RUN", "--eps", "0.5", "--noise", "random", "-k", "3"),
    ("certify", "RUN", "-k", "3"),
    ("compare", "RUN", "OTHER", "-k", "3"),
    ("recommend", "RUN", "--user", "u1", "-k", "3"),
    ("export", "RUN", "--out", "OUT.npz"),
    ("pretrain", "--resume", "RUN", "--epochs", "2"),
    ("adv-train", "--from", "RUN", "--epochs", "1", "--batch-size", "64", "--negatives", "1"),
)


class Hang(BaseException):
    """A command took longer than its limit."""


def invoke(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line in this process."""
    from advrec_cli.main import app

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app(args=arguments, prog_name="advrec", standalone_mode=False)
    return int(code or 0), out.getvalue(), err.getvalue()


def mutate(rng: random.Random, content: Any) -> Any:
    """JSON content with a value of another type or range, without a field, or nested deeper."""
    if isinstance(content, dict) and content and rng.random() < 0.85:
        content = dict(content)
        name = rng.choice(list(content))
        draw = rng.random()
        if draw < 0.75:
            content[name] = mutate(rng, content[name])
        elif draw < 0.9:
            del content[name]
        else:
            content[rng.choice(["extra", "epoch", "\x1b", "users"])] = rng.choice(VALUES)
        return content
    if isinstance(content, list) and content and rng.random() < 0.7:
        content = list(content)
        at = rng.randrange(len(content))
        if rng.random() < 0.6:
            content[at] = mutate(rng, content[at])
        else:
            del content[at]
        return content
    if rng.random() < 0.1:
        return [content] if rng.random() < 0.5 else {"x": content}
    if isinstance(content, int | float) and rng.random() < 0.4:
        return rng.choice([content + 1, -content, content * 1e9, str(content), float(content)])
    return rng.choice(VALUES)


def without_none(content: Any) -> Any:
    """What TOML can hold."""
    if isinstance(content, dict):
        return {str(k): without_none(v) for k, v in content.items() if v is not None}
    if isinstance(content, list):
        return [without_none(entry) for entry in content if entry is not None]
    if isinstance(content, int) and abs(content) >= 2**63:
        return 2**62
    return content


def json_bytes(content: Any) -> bytes:
    """JSON with NaN, infinities, and numbers of any length."""
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(content).encode()
    finally:
        sys.set_int_max_str_digits(4300)


def forge(rng: random.Random, name: str, content: bytes) -> bytes:
    """Another content of the same form."""
    if name == "config.toml":
        sections = without_none(mutate(rng, tomllib.loads(content.decode())))
        return tomli_w.dumps(sections if isinstance(sections, dict) else {"x": 1}).encode()
    if name.endswith(".json"):
        return json_bytes(mutate(rng, json.loads(content)))
    if name == "metrics.jsonl":
        return b"".join(
            json_bytes(mutate(rng, json.loads(line)) if rng.random() < 0.5 else json.loads(line))
            + b"\n"
            for line in content.splitlines()
        )
    return forge_tensors(rng, content)


def forge_tensors(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file of other values, types, shapes or names, or with another header."""
    import torch
    from safetensors.torch import load, save

    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3:
        header = mutate(rng, json.loads(content[8 : 8 + length]))
        raw = json_bytes(header)
        return len(raw).to_bytes(8, "little") + raw + content[8 + length :]
    tensors = load(content)
    name = rng.choice(sorted(tensors))  # load gives them in any order
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda t: torch.full_like(t, 3) if t.dtype == torch.int64 else t * math.nan,
        lambda t: t + (2**62 if t.dtype == torch.int64 else 1e38),
        lambda t: -t,
        lambda t: t.to(torch.float64),
        lambda t: t.to(torch.bool),
        lambda t: t.to(torch.int32),
        lambda t: t.to(torch.bfloat16),
        lambda t: t.reshape(-1),
        lambda t: t[None],
        lambda t: t.reshape(-1)[:1],
        lambda t: torch.zeros(0),
    ]
    tensor = rng.choice(changes)(tensors.pop(name)).contiguous()
    if rng.random() < 0.8:
        tensors[name if rng.random() < 0.9 else rng.choice(["x", "optimizer.", "weights.x"])] = (
            tensor
        )
    return save(tensors)


def damage(rng: random.Random, content: bytes) -> bytes:
    """The same file cut, flipped, empty or something else."""
    if rng.random() < 0.3 or not content:
        return rng.choice(
            [b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", b"a = " + b"[" * 5000]
        )
    data = bytearray(content)
    for _ in range(rng.randrange(3)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data[: rng.choice([len(data), rng.randrange(len(data) + 1)])])


def signed(files: dict[str, bytes], body: Any, named: dict[str, str] | None = None) -> bytes:
    """state.json whose checksums fit; it also names the files `named`."""
    digests = {n: hashlib.sha256(files[n]).hexdigest() for n in COMMITTED if n in files}
    digests |= named or {}
    commit = {"format": 1, "files": digests, "body": body}
    sys.set_int_max_str_digits(0)
    try:
        plain = json.dumps(commit, sort_keys=True, separators=(",", ":")).encode()
        return json.dumps({**commit, "check": hashlib.sha256(plain).hexdigest()}).encode()
    finally:
        sys.set_int_max_str_digits(4300)


class Folders:
    """Sound runs of several models on a small data set, and damaged copies of them."""

    def __init__(self, root: Path, models: tuple[str, ...] = tuple(MODELS)) -> None:
        import advrec

        self.root = root
        rows = [f"u{k % 12},i{(k * 7 + k // 12) % 9}\n" for k in range(96)]
        (root / "d.csv").write_text("user,item\n" + "".join(rows))
        lines = [f"i{k},{k},{k * k % 5}\n" for k in range(9)]
        (root / "features.csv").write_text("item,a,b\n" + "".join(lines))
        self.sound: dict[str, dict[str, bytes]] = {}
        for model in models:
            data = {name: str(root / file) for name, file in MODELS[model].items()}
            config = advrec.DataConfig.of(str(root / "d.csv"), **data)
            out = root / "sound" / model
            advrec.pretrain(config, model, out=out, dim=4, epochs=1, threads=1, batch_size=32)
            invoke(["eval", str(out), "-k", "3", "-q"])
            invoke(["attack", str(out), "--eps", "0.5", "--noise", "random", "-k", "3", "-q"])
            self.sound[model] = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}

    def damaged(self, rng: random.Random) -> tuple[Path, str]:
        """A damaged run folder, and what was done to it."""
        model = rng.choice(list(self.sound))
        files = dict(self.sound[model])
        name = rng.choice([name for name in FILES if name in files])
        commit = json.loads(files["state.json"])
        body = commit["body"]
        how = "forged" if rng.random() < 0.75 else "damaged"
        if how == "damaged":
            files[name] = damage(rng, files[name])
        elif name == "state.json":
            body = mutate(rng, body)
        else:
            files[name] = forge(rng, name, files[name])
        if name == "metrics.jsonl":
            body = {**body, "metrics_bytes": len(files[name])}
        unsigned = how == "damaged" and (name == "state.json" or rng.random() < 0.5)
        if not unsigned:
            files["state.json"] = signed(files, body)
        runs = self.root / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        shutil.rmtree(self.root / "out", ignore_errors=True)
        run = runs / "R"
        run.mkdir(parents=True)
        (self.root / "out").mkdir()
        for file, content in files.items():
            (run / file).write_bytes(content)
        return run, f"{model} {name} {how}"

    def command(self, rng: random.Random, run: Path) -> list[str]:
        """A command line that reads the run."""
        places = {
            "RUN": "R",
            "OTHER": str(self.root / "sound" / "mf"),
            "OUT.npz": str(self.root / "out" / "v.npz"),
        }
        words = [places.get(word, word) for word in rng.choice(COMMANDS)]
        words += ["--runs-dir", str(run.parent)] if words[0] != "doctor" else []
        return words + (["--threads", "1"] if words[0] not in ("runs", "export") else [])


def complaint(arguments: list[str]) -> tuple[str | None, int]:
    """What is wrong with how a command ends; None for an exit code and at most one error."""

    def alarm(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        code, _, err = invoke(arguments)
    except Hang:
        return f"hangs\n{traceback.format_exc()[-700:]}", -1
    except BaseException:
        return f"escapes: {traceback.format_exc()[-700:]}", -1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if "this is a bug" in err:
        return err, code
    if "\x1b" in err:
        return f"control characters on the screen: {err!r}", code
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    if code and len(errors) != 1:
        return f"exit {code} with {len(errors)} errors: {err!r}", code
    if any(len(line) > 1500 for line in errors):
        return f"an error of {max(map(len, errors))} characters", code
    return None, code


def last_frame(text: str) -> str:
    """Where the traceback that an error names ends in advrec."""
    path = re.search(r"(\S+advrec-traceback-\S+\.txt)", text)
    if path is None:
        return text[-300:]
    content = Path(path[1]).read_text(errors="replace")
    Path(path[1]).unlink()
    frames = re.findall(r'File "\S*?((?:advrec|cli|advrec_cli)/\S+\.py)", line (\d+)', content)
    place = ":".join(frames[-1]) if frames else "?"
    return f"{place}: {content.strip().splitlines()[-1][:160]}"


def fuzz(folders: Folders, count: int, seed: int) -> tuple[Counter[str], Counter[int]]:
    """Run `count` commands; what went wrong, by place, and how the others ended."""
    wrong: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        run, what = folders.damaged(rng)
        words = folders.command(rng, run)
        found, code = complaint(words)
        codes[code] += 1
        if found is not None:
            place = last_frame(found)
            if place not in wrong:
                print(f"{number}: {what}: {' '.join(words[:3])}\n    {place}", flush=True)
            wrong[place] += 1
    return wrong, codes


def main() -> int:
    """Exit code 1 if a command hung, or called something a bug."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000, help="run folders")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    given = parser.parse_args()
    memory = Path("/dev/shm")  # folders are made and removed all the time
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="advrec-fuzz-", dir=place) as root:
        tempfile.tempdir = root
        os.environ["ADVREC_DATA_CACHE"] = "off"
        wrong, codes = fuzz(Folders(Path(root)), given.count, given.seed)
    for found, number in wrong.most_common():
        print(f"{number:6} x {found}")
    ended = ", ".join(f"exit {code}: {number:,}" for code, number in sorted(codes.items()))
    print(f"{given.count:,} run folders ({ended}): {wrong.total()} not as they should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
