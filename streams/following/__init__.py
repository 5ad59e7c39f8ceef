"""Following the log: batches of admitted facts, a partition at a time, to whoever goes on from them."""
