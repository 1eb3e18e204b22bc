// SPDX-License-Identifier: Apache-2.0

package bundle

// readme is the first file of each bundle.
const readme = `# What is in this archive

It was written by "check --bundle" for the maintainers of proxy-client.

| file | content |
| --- | --- |
| report.txt, report.json | what "check" found, for people and for programs |
| versions.txt | the program that wrote this, and the API server |
| not-collected.txt | what could not be read, and why. Without this file, all was read |
| webhook/ | the webhook: its registration, Service, Deployment, configuration, pods, logs and events. mutating-webhooks.txt has the names of all others |
| nodes.yaml | versions, addresses and conditions of the nodes |
| namespaces/NAMESPACE/namespace.txt | labels of the namespace; the names of its NetworkPolicies, quotas and LimitRanges |
| namespaces/NAMESPACE/configmap-shoot-proxy.yaml | the namespace's own configuration, if it has one |
| namespaces/NAMESPACE/events.txt | events about these pods, and about what makes them |
| namespaces/NAMESPACE/POD.yaml | a pod that has the label or the sidecar |
| namespaces/NAMESPACE/POD.CONTAINER.log | the end of the log of init-redirect or proxy-client. previous.log is of the run before |
| namespaces/NAMESPACE/POD.configuration.json and others | the documents of the sidecar's admin address: its settings, its state, recent failures, and the last 15 minutes |
| namespaces/NAMESPACE/POD.check.json | what "proxy-client check" found in the pod, as far as the agent |

Logs and documents are of at most ten pods, and the check of three. Pods that are not well
come first.

# What is not in it

- Secrets. None was asked for to write this archive. Keys, tokens and kubeconfigs are not in it.
- Values of environment variables. Settings of our own containers are the exception.
- Commands, arguments, probes, last words and logs of all other containers.
- Values of annotations that are not ours.
- Contents of ConfigMaps, except the configuration of the webhook and of proxy-client.

Of each of these that an object has, its name is there, and "[left out]". Texts that look
like a key, a token or a password were removed from all files.

# Before you send it

Look through it. It has names, labels and addresses of your pods, nodes, namespaces, images
and proxy-servers. The logs and failures have the addresses that the apps connect to.
`
