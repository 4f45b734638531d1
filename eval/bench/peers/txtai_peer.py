"""txtai: its token chunker and its embeddings index, saved with FAISS; no part of our program.

Arguments: documents, output, model folder, tokens per chunk, number format. Prints the chunks.
"""

import sys
from pathlib import Path

from tokenizers import Tokenizer
from txtai.embeddings import Embeddings
from txtai.pipeline import Segmentation


def main() -> None:
    documents, output, embedder, tokens, dtype = sys.argv[1:6]
    if dtype != "default":
        sys.exit("txtai has no argument for the number format")
    tokenizer = Tokenizer.from_file(str(Path(embedder) / "tokenizer.json"))
    tokenizer.no_truncation()  # the model's own file says 128
    tokenizer.no_padding()
    segment = Segmentation(chunker="token", tokenizer=tokenizer, chunk_size=int(tokens))
    chunks = [
        chunk
        for file in sorted(Path(documents).rglob("*.md"))
        for chunk in segment(file.read_text(encoding="utf-8"))
    ]
    embeddings = Embeddings(path=embedder, backend="faiss", content=True)
    embeddings.index(chunks)
    embeddings.save(output)
    sys.stdout.write(f"{len(chunks)}\n")


main()
