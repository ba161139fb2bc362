"""The preparation of data, beside a library that only tokenises."""
