//! Float operators with explicit forward and backward passes, and the executor of graphs.
