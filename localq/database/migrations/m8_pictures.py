"""Pictures among what was attached.

`media` is "image/png" and the like, and `content` then the file in base64; "" is a text."""

__all__ = ["STATEMENTS"]

STATEMENTS: tuple[str, ...] = ("ALTER TABLE attachments ADD COLUMN media TEXT NOT NULL DEFAULT ''",)
