"""A study: conditions asked the same questions over HTTP, scored, compared and reported."""
