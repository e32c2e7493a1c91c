"""How near the gateway's token counts are to Anthropic's published ones."""
