"""How a domain speaks: prompt formats, adapter versions, releases, training and verification."""
