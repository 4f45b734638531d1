"""LlamaIndex: its sentence splitter by the model's tokens, into its FAISS store; not our program.

Arguments: documents, output, model folder, tokens per chunk, number format. Prints the chunks.
"""

import sys
from typing import Any

import faiss
from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.faiss import FaissVectorStore
from transformers import AutoTokenizer


def main() -> None:
    documents, output, embedder, tokens, dtype = sys.argv[1:6]
    read = SimpleDirectoryReader(documents, recursive=True, required_exts=[".md"]).load_data()
    # Without the paths and dates that it would embed with every chunk.
    texts = [Document(text=document.text) for document in read]
    tokenizer = AutoTokenizer.from_pretrained(embedder)
    splitter = SentenceSplitter(
        chunk_size=int(tokens), chunk_overlap=0, tokenizer=tokenizer.tokenize
    )
    chunks = splitter.get_nodes_from_documents(texts)
    options: dict[str, Any] = {} if dtype == "default" else {"dtype": dtype}
    embedding = HuggingFaceEmbedding(model_name=embedder, model_kwargs=options)
    size = len(embedding.get_text_embedding("size"))
    storage = StorageContext.from_defaults(
        vector_store=FaissVectorStore(faiss_index=faiss.IndexFlatIP(size))
    )
    index = VectorStoreIndex(chunks, storage_context=storage, embed_model=embedding)
    index.storage_context.persist(output)
    sys.stdout.write(f"{len(chunks)}\n")


main()
