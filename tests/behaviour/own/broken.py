raise ValueError("half-written")
