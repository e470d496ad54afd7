// Package awssecrets reads and rotates keys at AWS Secrets Manager.
package awssecrets
