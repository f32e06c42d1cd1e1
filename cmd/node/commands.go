package main

// commands is the table of all commands, in the order of the help.
func commands() []command {
	return []command{
		devCommand(),
		serveCommand(),
		herdCommand(),
		accountsCommand(),
		linkCommand(),
		tokenCommand(),
		refreshCommand(),
		disconnectCommand(),
		importCommand(),
		eventsCommand(),
		integrationsCommand(),
		providersCommand(),
		keysCommand(),
		webhooksCommand(),
		clusterCommand(),
		versionCommand(),
	}
}
