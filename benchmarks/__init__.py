"""What this SDK costs, measured against what one would write or take instead.

python -m benchmarks          the table, benchmarks/results/ and its graph
python -m benchmarks --quick  the same, small: does it run at all?

docs/performance.md says how to read it.
"""
