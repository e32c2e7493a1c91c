"""WHOSE CREDENTIAL: the credential file, its values, and which one a request gets."""
