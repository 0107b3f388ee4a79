NOUNS = ("house", "river", "cat", "engine", "letter")  # a helper beside it
