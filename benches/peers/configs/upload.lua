-- wrk: 1 MiB per request.
wrk.method = "POST"
wrk.body = string.rep("w", 1048576)
