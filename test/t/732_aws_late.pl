# What AWS KMS says later than it does it, or not at all: the time to many at once, a deletion that
# its own list does not show yet or that replicas hold up, and which material has wrapped.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PgEnvelope::Cluster;
use PgEnvelope::Moto;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $aws = PgEnvelope::Moto->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::Moto::why_not();
my %arn = map { $_ => $aws->key } qw(acme doomed stored);
my $user = $aws->user('db', qw(RotateKeyOnDemand ListKeyRotations ScheduleKeyDeletion CancelKeyDeletion EnableKey));
PgEnvelope::Moto::write_file("$dir/kms.conf", $aws->section('prod', $user, "allow_keys = arn:aws:kms:eu-west-1:123456789012:key/*\nallow_destroy = on"));
my $node = PgEnvelope::Cluster->new('late', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
my $admin = $node->session;
$admin->query('SET client_min_messages = error');

sub statuses { return join ' ', sort map { $_->{status} } grep { $_->{operation} eq 'Decrypt' } @{ $aws->requests }; }

#
# A clock that is wrong is wrong for all that are under way.
#
$admin->query("SELECT envelope_create_kek('acme', '$arn{acme}'); SELECT envelope_create_key('key' || i, 'acme') FROM generate_series(1, 4) i");
$aws->requests;
for my $clock (3600, 0)
{
	$admin->query('SELECT envelope_cache_flush()');
	$aws->set(clock => $clock, gather => 4);
	is($admin->query('SELECT envelope_prewarm()'), 4, "AWS's clock $clock s ahead: four keys at once are unwrapped");
	is(statuses(), '200 200 200 200 400 400 400 400', 'each once refused, and signed again');
}

#
# Where no material is told, none is known to be the newest.
#
$aws->set(materials => JSON::PP::false);
$admin->query('BEGIN');
$admin->query("SELECT envelope_create_key('unknown', 'acme')");
is($admin->query(q{SELECT w.kek_version FROM envelope.wrapping w JOIN envelope.dek d USING (dek_id) WHERE d.key_id = 'unknown'}), '', 'of a wrapping it is not told which material made it');
$admin->query('COMMIT');
$admin->query(q{SELECT envelope_rotate_kek('acme')});
is($admin->query(q{SELECT outcome FROM rewrap_all('acme', 'acme') WHERE key_id = 'unknown'}), 'rewrapped', 'after a rotation it is not taken for one of the newest');
$aws->set(materials => JSON::PP::true);

#
# A rotation.
#
sub rotate { $admin->query('SET client_min_messages = warning'); my ($out, $told) = $admin->try(q{SELECT envelope_rotate_kek('acme')}); $admin->query('SET client_min_messages = error'); return "$out $told"; }

$aws->set(late => 2);
like(rotate(), qr/^[0-9a-f]{64}\s*$/, 'a rotation that shows a little later is waited for');
$aws->set(late => 8);
like(rotate(), qr/WARNING.*KEK "acme" is being rotated.*AWS KMS has taken up the rotation/s, 'of one that does not show it is said that it has not come to its end');
$aws->set(late => 0);

#
# A deletion.
#
my $doomed = "aws-kms://$arn{doomed}";
sub state_of { return $admin->query(q{SELECT state FROM envelope.kek WHERE name = 'doomed'}); }
sub there { return $aws->ask('kms', 'describe_key', { KeyId => $arn{doomed} })->{KeyMetadata}{KeyState}; }
sub destroy { $admin->query('SET client_min_messages = warning'); my (undef, $told) = $admin->try("SELECT envelope_destroy_kek('doomed', '$doomed')"); $admin->query('SET client_min_messages = error'); return $told; }

$admin->query("SELECT envelope_create_kek('doomed', '$doomed')");
$aws->set(late => 2);
my $told = destroy();
like($told, qr/AWS KMS deletes the key on \d{4}-/, 'a deletion that shows a little later is one');
unlike($told, qr/multi-Region/, 'of a key of one region');
is(state_of(), 'destroyed', 'here, too');
$admin->query(q{SELECT envelope_enable_kek('doomed')});
is(state_of() . ' ' . there(), 'enabled Enabled', 'and so is calling it off');
$aws->set(late => 8);
like(destroy(), qr/KE007.*AWS KMS has taken up the deletion.*look at its state/s, 'one that does not show is not said not to be there');
is(there(), 'PendingDeletion', 'which it is');
$aws->set(late => 0);
like(destroy(), qr/AWS KMS deletes the key on \d{4}-/, 'once more finds it');
$aws->ask('kms', $_, { KeyId => PgEnvelope::Moto::bare($arn{doomed}) }) for qw(cancel_key_deletion enable_key);
is(there(), 'Enabled', 'a deletion that somebody calls off');
$aws->set(told => { $arn{doomed} => [ 'PendingDeletion', 1 ] });
like(destroy(), qr/AWS KMS deletes the key on /, 'and that still shows for a while');
is(there(), 'PendingDeletion', 'is not taken for one on its way');
$admin->query(q{SELECT envelope_enable_kek('doomed')});

#
# A key that somebody else has disabled is not ours to enable.
#
sub enable { my (undef, $err) = $admin->try(q{SELECT envelope_enable_kek('doomed')}); return $err; }
sub enabling { return scalar grep { $_->{operation} eq 'EnableKey' } @{ $aws->requests }; }

destroy();
$aws->ask('kms', 'cancel_key_deletion', { KeyId => PgEnvelope::Moto::bare($arn{doomed}) });
enabling();
like(enable(), qr/KE011.*The key is disabled.*by who may decide that; then repeat this/s, 'a deletion that somebody has called off, and the key is still disabled');
is(enabling(), 0, 'it is not asked to be enabled');
is(state_of() . ' ' . there(), 'destroyed Disabled', 'and stays as it is');
$aws->set(told => { $arn{doomed} => [ 'PendingDeletion', 1 ] });
like(enable(), qr/KE011.*The key is disabled.*by who may decide that/s, 'nor when that shows only behind the attempt to call it off');
is(there(), 'Disabled', 'it stays disabled');
$aws->ask('kms', 'enable_key', { KeyId => PgEnvelope::Moto::bare($arn{doomed}) });
enabling();
is(enable(), '', 'once they have enabled it');
is(state_of() . ' ' . enabling(), 'enabled 0', 'the KEK is enabled, too');
destroy();
$aws->set(fail => { EnableKey => { status => 503, body => '' } });
like(enable(), qr/KE007.*Its deletion has been called off, and it is disabled until it is enabled in AWS KMS/s, 'a deletion that was called off, and nothing more: said so');
is(state_of() . ' ' . there(), 'destroyed Disabled', 'which is so');
$aws->set(fail => {});
$aws->ask('kms', 'enable_key', { KeyId => PgEnvelope::Moto::bare($arn{doomed}) });
is(enable(), '', 'enabled there, it is repeated');

#
# What a rollback does not undo is told.
#
sub warned { my ($sql) = @_; $admin->query('SET client_min_messages = warning'); my (undef, $err) = $admin->try($sql); $admin->query('SET client_min_messages = error'); return $err; }
my $destroyed = qr/WARNING:  01000: KEK "doomed" is destroyed in its key service, although the transaction was rolled back\nDETAIL: .*\nHINT:  Repeat envelope_destroy_kek/;
my $saved = qr/WARNING:  01000: KEK "doomed" is not destroyed any more, although the transaction was rolled back\nDETAIL: .*says as before that it is destroyed.*\nHINT:  Repeat envelope_enable_kek/;
like(warned("BEGIN; SELECT envelope_destroy_kek('doomed', '$doomed'); ROLLBACK"), $destroyed, 'a destruction that is rolled back here');
is(state_of() . ' ' . there(), 'enabled PendingDeletion', 'and not there');
unlike(warned("BEGIN; SELECT envelope_destroy_kek('doomed', '$doomed'); SAVEPOINT s; ROLLBACK TO s; COMMIT"), qr/rolled back/, 'repeated, and committed, it is one');
is(state_of(), 'destroyed', 'here as well');
like(warned(q{BEGIN; SELECT envelope_enable_kek('doomed'); ROLLBACK}), $saved, 'an end of a destruction that is rolled back here');
is(state_of() . ' ' . there(), 'destroyed Enabled', 'and not there');
like(warned(q{BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT envelope_enable_kek('doomed'); RELEASE b; ROLLBACK TO a; COMMIT}), $saved, 'of a subtransaction, too');
unlike(warned('BEGIN; SELECT 1; ROLLBACK'), qr/KEK/, 'which is told once');
is(warned(q{SELECT envelope_enable_kek('doomed')}) . state_of(), 'enabled', 'repeated it is enabled');

#
# A multi-Region key whose replicas are still there: AWS has taken its deletion up, and it opens nothing.
#
$aws->set(replicated => JSON::PP::true);
like(destroy(), qr/after the last of its replicas.*envelope_enable_kek calls that off.*in each other region/, 'a deletion that waits for replicas is one');
is(state_of() . ' ' . there(), 'destroyed PendingDeletion', 'here and there');
like(destroy(), qr/after the last of its replicas/, 'and once more');
$admin->query(q{SELECT envelope_enable_kek('doomed')});
is(state_of() . ' ' . there(), 'enabled Enabled', 'it can be called off');

#
# The trouble of one key's own store is not its neighbours'.
#
$admin->query("SELECT envelope_create_kek('stored', '$arn{stored}'); SELECT envelope_create_key('stored', 'stored'); SELECT envelope_create_key('beside', 'acme'); CREATE TABLE t AS SELECT k, envelope_encrypt(k, k) AS sealed FROM unnest(ARRAY['stored', 'beside']) k");
sub opens { my ($key) = @_; return $admin->try("SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, '$key') FROM t WHERE k = '$key'"); }
$aws->set(fail => { Decrypt => { status => 500, code => 'KeyUnavailableException', key => $arn{stored} } });
$aws->requests;
like((opens('stored'))[1], qr/KE007.*AWS KMS does not reach the key now: its key store.*KeyUnavailableException/s, 'a key whose store is away') for 1 .. 4;
cmp_ok(scalar(grep { $_->{status} == 500 } @{ $aws->requests }), '>=', 8, 'it is asked for each time, more often than a service that is away would be');
like((opens('beside'))[0], qr/^beside$/m, 'its neighbour in the section opens');
$aws->set(fail => { Decrypt => { status => 400, code => 'CustomKeyStoreInvalidStateException', key => $arn{stored} } });
like((opens('stored'))[1], qr/KE011.*key store of the key.*CustomKeyStoreInvalidStateException/s, 'a store that is disconnected');
like((opens('beside'))[0], qr/^beside$/m, 'its neighbour opens');
$aws->set(fail => {});
like((opens('stored'))[0], qr/^stored$/m, 'and so does the key when its store is back');

#
# A key that has been rotated as often as AWS does it.
#
$aws->set(fail => { RotateKeyOnDemand => { status => 400, code => 'LimitExceededException' } });
my (undef, $limit) = $admin->try(q{SELECT envelope_rotate_kek('acme')});
like($limit, qr/53400.*25 times in its life.*LimitExceededException/s, 'one rotation too many says so');
like($limit, qr/HINT:.*envelope_create_kek, and move to it with rewrap_all/, 'and what to do');
unlike($limit, qr/polic/, 'which has nothing to do with policies');
done_testing();
