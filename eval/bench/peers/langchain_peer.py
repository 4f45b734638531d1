"""LangChain: its recursive splitter by the model's tokens, into its FAISS store; not our program.

Arguments: documents, output, model folder, tokens per chunk, number format. Prints the chunks.
"""

import sys
from typing import Any

from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from transformers import AutoTokenizer


def main() -> None:
    documents, output, embedder, tokens, dtype = sys.argv[1:6]
    loader = DirectoryLoader(
        documents, "**/*.md", loader_cls=TextLoader, loader_kwargs={"encoding": "utf-8"}
    )
    splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        AutoTokenizer.from_pretrained(embedder), chunk_size=int(tokens), chunk_overlap=0
    )
    chunks = splitter.split_documents(loader.load())
    options: dict[str, Any] = {} if dtype == "default" else {"model_kwargs": {"dtype": dtype}}
    store = FAISS.from_documents(
        chunks, HuggingFaceEmbeddings(model_name=embedder, model_kwargs=options)
    )
    store.save_local(output)
    sys.stdout.write(f"{len(chunks)}\n")


main()
