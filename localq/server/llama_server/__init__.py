"""What llama-server has and OpenAI's API has not: the paths that editors and monitors ask."""
