"""The benchmark suite: what bcpatch costs, beside what else there is."""
