//! HTTP/1.1 messages as bytes: heads, framing, chunks. Sans-IO.
