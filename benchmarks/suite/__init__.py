"""What the benchmarks share: results and their statistics, environments, the machine, reports and plots."""
