"""Makes the README's links absolute, since package indexes show it alone.

The address is `Repository` of `[project.urls]` in pyproject.toml; without it, the links
stay as they are. `scripts/set_repository.py` writes it.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class AbsoluteLinks(MetadataHookInterface):
    """Adds the README to the metadata."""

    def update(self, metadata: dict) -> None:
        """Sets the field `readme`."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        if repository:
            # Pictures have to be files, everything else may be a page.
            picture, link = r"(!\[[^]]*\]\()(?!https?:|#)", r"(?<=\]\()(?!https?:|#)"
            text = re.sub(picture, rf"\1{repository}/raw/main/", text)
            text = re.sub(link, f"{repository}/blob/main/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
