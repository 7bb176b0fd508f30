"""A server: the engine behind the OpenAI images contract, jobs of its own that outlive a crash, and a page."""
