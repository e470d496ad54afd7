// Package awssecrets reads keys from AWS Secrets Manager, and rotates them there.
//
//	src, err := awssecrets.Open("prod/cloakroom?region=eu-central-1#keys", nil)
//	ring, err := keyring.Load(ctx, src)
//	go ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Minute})
//
// # Places
//
// A place is the name of a secret, or its ARN, then parameters, then a field:
//
//	prod/cloakroom                                       the whole SecretString, key lines as they are
//	prod/cloakroom?region=eu-central-1#keys              the field "keys" of a SecretString that is a JSON object
//	arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/cloakroom-AbCdEf
//	prod/cloakroom?version-stage=AWSPREVIOUS             another version than AWSCURRENT, to look at
//
// Write the whole ARN where you can. A name is looked for in the account that the
// credentials happen to be of, and whoever can put credentials of their own in the way
// has their secret of that name read, and with it keys that they know; of an ARN that
// is not theirs they have nothing to give.
//
// A SecretBinary that holds text is read as well. The region is that of the ARN, of
// the parameter, or of the SDK (AWS_REGION, the profile); the instance is not asked
// for it. A place that looks like a key is refused, as it was put there by mistake.
//
// # Setting up
//
//	cloakroom key new > keys && aws secretsmanager create-secret --name prod/cloakroom --secret-string file://keys && rm keys
//
// Credentials are found by the SDK's own chain: the environment, the shared files
// (AWS_PROFILE, IAM Identity Center, roles to assume), a web identity (EKS), the
// container's (ECS, EKS Pod Identity), the instance's role. This is all that an
// instance needs:
//
//	{"Version": "2012-10-17", "Statement": [{
//	  "Effect": "Allow",
//	  "Action": "secretsmanager:GetSecretValue",
//	  "Resource": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/cloakroom-??????"}]}
//
// Whoever rotates needs secretsmanager:PutSecretValue and
// secretsmanager:UpdateSecretVersionStage on the same resource. Where the secret is
// under a KMS key of one's own, reading needs kms:Decrypt on that, and writing
// kms:GenerateDataKey as well.
//
// # What is called, and how often
//
// Each Read is one call of GetSecretValue, which AWS charges for and writes into
// CloudTrail: at a look a minute some 43,000 a month for each instance, at a look a
// second 2.6 million. A rotation costs three calls for each of its steps. A service
// that is throttled or fails is tried three times, at most a second apart; a Read or
// Write takes no longer than [Options].Timeout in all, finding credentials included.
// Nothing runs, and no connection stays open, between two calls. The SDK alone may
// finish, within the same bounds, asking for credentials that nobody waits for any
// more.
//
// # Writing
//
// Write is a true compare-and-set. The text becomes a new version under the staging
// label CLOAKROOMPENDING, and AWSCURRENT is then moved there from the version that was
// compared; Secrets Manager refuses that where the label has moved on, and Write
// returns [keyring.ErrChanged]. The version before becomes AWSPREVIOUS. A version
// whose turn never came keeps the staging label until the next write; nobody reads it.
// AWS advises against more than one write in ten minutes over a long time, as it
// keeps the versions of the last day.
//
// Rotation by a Lambda function of Secrets Manager is another thing, and not for this
// secret: leave it off.
//
// # Safety
//
// All that the SDK sends goes over one wire of this package's, whichever of its
// clients sends it: those that get credentials (STS, IAM Identity Center, the
// container's agent, the instance's metadata service) as well as that of Secrets
// Manager. The URL that is asked in the end is https, or on this machine; but for the
// services of the machine's own link, which have no TLS: 169.254.169.254 and
// fd00:ec2::254 (EC2), 169.254.170.2 (ECS), 169.254.170.23 and fd00:ec2::23 (EKS).
// What goes to these or to this machine goes through no proxy; the rest honours
// HTTPS_PROXY. No redirect is followed; an answer is no longer than a mebibyte. Errors
// tell what is wrong and what to do in words of this package's own, and never in those
// of the server or the SDK, which may hold anything. The SDK logs nothing.
//
// The authorities of AWS_CA_BUNDLE are trusted, or else the system's, or those of
// SSL_CERT_FILE: see "Where keys are kept" in docs/operations.md.
//
// # How far this is tested
//
// The tests run the SDK against a server of their own on the loopback interface, which
// speaks the documented protocol and checks every signature (Signature Version 4) with
// code that is not the SDK's. They have never met AWS itself: before you rely on a
// rotation there, try one with a secret that does not matter.
package awssecrets
