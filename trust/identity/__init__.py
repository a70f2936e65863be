"""What an identity provider runs on its own machine, with its own key: the service holds none of it."""
