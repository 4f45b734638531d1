"""One question: lease a release, retrieve, compose, ask the engine, check the citations."""
