"""The contract as files."""

from pathlib import Path

import msgspec

from app.contract.contract import Contract
from app.contract.markdown import page


def rendered(contract: Contract, host: str) -> dict[str, str]:
    """Return the text of each file, by its path within the folder."""
    documents = {"asyncapi.json": contract.asyncapi(host), "openapi.json": contract.openapi}
    documents |= {f"schemas/{key}.json": schema for key, schema in contract.schemas.items()}
    texts = {name: _text(document) for name, document in documents.items()}
    return {**texts, "events.md": page(contract.events, contract.shapes)}


def write(contract: Contract, host: str, folder: Path) -> int:
    """Write the files, and return how many they are. Raises `OSError`."""
    files = rendered(contract, host)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(files)


def _text(document: object) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
