"""The HTTP server: the OpenAI images API over the inference engine, durable jobs of its own, and a web page."""
