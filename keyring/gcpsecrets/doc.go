// Package gcpsecrets reads and rotates keys at Google Cloud Secret Manager.
package gcpsecrets
