"""Many prompts from a file to a file: rows in, an answer a row out, whatever happens on the way."""

from genfast.batch.answer import answer, answers
from genfast.batch.rows import Results, Row, read_rows

__all__ = ["Results", "Row", "answer", "answers", "read_rows"]
