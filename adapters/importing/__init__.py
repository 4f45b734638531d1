"""Adapters made elsewhere: fetched, converted where that is exact, else refused with a remedy."""
