"""The admin API and the web page: looking at a running gateway, and changing it."""
