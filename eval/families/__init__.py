"""Families of bases, each shown by a tiny one: trained on, served by vLLM, compared with peft."""
