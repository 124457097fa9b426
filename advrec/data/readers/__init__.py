"""One reader a format; each returns `Interactions` and raises `DataError` with file and line."""
