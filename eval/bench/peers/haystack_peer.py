"""Haystack: its recursive splitter, into its FAISS store; not our program.

Its splitter by tokens fetches another model's vocabulary, so that it splits by words here: as many
as make the wanted tokens of English.
Arguments: documents, output, model folder, tokens per chunk, number format. Prints the chunks.
"""

import sys
from pathlib import Path
from typing import Any

from haystack.components.converters import TextFileToDocument
from haystack.components.preprocessors import RecursiveDocumentSplitter
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
)
from haystack_integrations.document_stores.faiss import FAISSDocumentStore

TOKENS_PER_WORD = 1.4


def main() -> None:
    documents, output, embedder, tokens, dtype = sys.argv[1:6]
    files: list[Any] = sorted(Path(documents).rglob("*.md"))
    read = TextFileToDocument().run(sources=files)["documents"]
    splitter = RecursiveDocumentSplitter(
        split_length=round(int(tokens) / TOKENS_PER_WORD),
        split_overlap=0,
        split_unit="word",
        separators=["\n\n", "\n", " "],
    )
    splitter.warm_up()
    chunks = splitter.run(read)["documents"]
    options: dict[str, Any] = {} if dtype == "default" else {"dtype": dtype}
    embedding = SentenceTransformersDocumentEmbedder(
        model=embedder, progress_bar=False, model_kwargs=options
    )
    embedding.warm_up()
    embedded = embedding.run(chunks)["documents"]
    Path(output).mkdir(parents=True)
    store = FAISSDocumentStore(
        index_path=str(Path(output) / "index"), embedding_dim=len(embedded[0].embedding)
    )
    store.write_documents(embedded)
    store.save(str(Path(output) / "index"))
    sys.stdout.write(f"{len(chunks)}\n")


main()
