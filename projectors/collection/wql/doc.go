// Package wql reads the query language of collections.
package wql
