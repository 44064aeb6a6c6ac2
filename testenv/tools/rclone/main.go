// Command rclone is rclone with the two backends and the one command that `ballast resolve --format rclone` uses. All of
// its seventy backends would be most of what CI compiles.
package main

import (
	_ "github.com/rclone/rclone/backend/local"
	_ "github.com/rclone/rclone/backend/s3"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/copyto"
)

func main() { cmd.Main() }
