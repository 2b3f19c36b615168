//! Requests, responses and their framing.
