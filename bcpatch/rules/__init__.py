"""The verifier's rules: form of a patch, structure of its code, references under a policy."""
