"""Speed and memory, side by side with plain forms; no part of the tests."""
