package redisstore_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

func ExampleOpen() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// The password of the URL belongs in a file that only this program reads.
	st, err := redisstore.Open(ctx, "rediss://cloakroom:password@redis.internal/0?ca=/etc/cloakroom/redis-ca.pem", nil)
	if err != nil {
		log.Print(err)
		return
	}
	defer st.Close()
	// manager, err := cloakroom.New(st, keys, nil)
}

// The rules for a user who may do what the store does.
func ExampleACL() {
	fmt.Println("ACL SETUSER cloakroom on >PASSWORD " + redisstore.ACL(""))
	// Output:
	// ACL SETUSER cloakroom on >PASSWORD resetkeys resetchannels -@all ~cloakroom:* +ping +select +eval +evalsha +get +set +getrange +setrange +del +pexpireat +pexpiretime +zadd +zrem +zrange +zscore +zremrangebyscore +time +hget +hset +hgetall
}
