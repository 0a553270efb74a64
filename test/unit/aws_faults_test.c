/*-------------------------------------------------------------------------
 *
 * aws_faults_test.c
 *	  What vault_faults_test.c does with Vault, with AWS KMS: test/tools/fault_aws.py.
 *
 * Its main() is this one's.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/kms_aws.h"

#define FAULTS_SCRIPT			"fault_aws.py"
#define FAULTS_PROVIDER			pge_kms_aws
#define FAULTS_SECTION			"[aws a]\nregion = eu-west-1\nendpoint = https://%s\nca_file = %s/ca.pem\nauth = profile:default\ncredentials_file = %s\nallow_keys = arn:aws:kms:eu-west-1:111122223333:key/" "*\n"
#define FAULTS_CREDENTIAL		"[default]\naws_access_key_id = AKIA%s\naws_secret_access_key = " CANARY "-secret\naws_session_token = " CANARY "-token\n"
#define FAULTS_SECRET			CANARY "-secret"
#define FAULTS_URI(address, key)	"aws-kms://arn:aws:kms:eu-west-1:111122223333:key/%s", ((void) (address), key)
#define FAULTS_UNWRAP(key)		"tls asked decrypt " key " "

#include "vault_faults_test.c"
