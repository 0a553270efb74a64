# KEKs in AWS KMS (moto, with signatures checked): what is sealed under them opens, over rotations,
# rewraps and failures; whatever is wrong there has its SQLSTATE and says what to do.
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
my %arn = map { $_ => $aws->key } qw(acme second pending doomed);
my $moved = $aws->alias('moved', $arn{acme});
my @more = qw(RotateKeyOnDemand ListKeyRotations ScheduleKeyDeletion CancelKeyDeletion EnableKey);
my $user = $aws->user('db', @more);
my $role = $aws->role('temporary');
my $wrong = $aws->credential('wrong', $user->{id}, 'not-the-secret', '');
my $allow = 'allow_keys = arn:aws:kms:eu-west-1:123456789012:key/*, arn:aws:kms:eu-west-1:123456789012:alias/*, alias/*, key/*';
PgEnvelope::Moto::write_file("$dir/kms.conf",
	$aws->section('prod', $user, "$allow\nallow_destroy = on") . $aws->section('role', $role, $allow) . $aws->section('wrong', $wrong, $allow)
	  . $aws->section('far', $user, 'allow_keys = arn:aws:kms:us-east-2:123456789012:key/*', 'us-east-2'));
my $node = PgEnvelope::Cluster->new('aws', 'pg_envelope.kms_config_file' => "$dir/kms.conf", 'pg_envelope.cache_ttl' => '1h');
my $admin = $node->session;
$admin->query('SET client_min_messages = error');

# Fails with that SQLSTATE and such a detail; returns all that was said.
sub says
{
	my ($name, $sql, $sqlstate, $detail) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, $err) = $admin->try($sql);
	my ($state) = $err =~ /^\S*\s*ERROR:  (\w{5}):/m;
	my ($said) = $err =~ /^DETAIL:  (.*)$/m;
	ok(($state // '') eq $sqlstate && ($said // '') =~ $detail, "$name: $sqlstate and why") or diag($err);
	return $err;
}

sub wrapping { my ($key_id) = @_; return $admin->query("SELECT w.kek, w.kek_version, encode(substr(w.wrapped, 1, 3), 'hex') FROM envelope.wrapping w JOIN envelope.dek d USING (dek_id) WHERE d.key_id = '$key_id' AND w.superseded IS NULL"); }
sub operations { return [ map { $_->{operation} } @{ $aws->requests } ]; }

sub flush { $admin->query('SELECT envelope_cache_flush()'); return; }
sub opened { flush(); return $admin->query(q{SELECT envelope_decrypt(sealed, 'acme') FROM acme}); }
sub rewrap { my ($old, $new) = @_; return $admin->query("SELECT key_id, version, outcome FROM rewrap_all('$old', '$new') ORDER BY 1, 2"); }

#
# From a KEK to a value.
#
my $uri = "aws-kms://$arn{acme}?instance=prod";
is($admin->query("SELECT envelope_create_kek('aws', '$arn{acme}?instance=prod')"), $uri, 'a key of AWS KMS is a KEK');
$aws->requests;
$admin->query("SELECT envelope_create_key('acme', 'aws'); CREATE TABLE acme AS SELECT envelope_encrypt('4111-1111', 'acme') AS sealed");
is(opened(), '4111-1111', 'what is sealed under it opens');
my $seen = $aws->requests;
is_deeply([ map { "$_->{operation} $_->{status} $_->{signature}" } @$seen ], [ 'Encrypt 200 ok', ('Decrypt 200 ok') x 3 ], 'by requests that botocore would have signed so');
is_deeply([ grep { $_->{key} ne $arn{acme} } @$seen ], [], 'all of which name the key');
my ($keyring, $dek_id) = split /\|/, $admin->query(q{SELECT keyring, dek_id FROM envelope.dek WHERE key_id = 'acme'});
my %context = (pge_keyring => $keyring, pge_key_id => 'acme', pge_dek_id => $dek_id, pge_version => '1', pge_purpose => '1', pge_algorithm => '1');
is_deeply($seen->[$_]{context}, \%context, "request $_ has the binding as its context") for 0 .. 3;
my ($kek, $version, $form) = split /\|/, wrapping('acme');
is("$kek $form", 'aws 010200', 'the wrapping is of form 2');
like($version, qr/^[0-9a-f]{64}$/, 'and of a key material, which only the first Decrypt told');
$admin->query(q{SELECT envelope_create_key('Größe 100%', 'aws')});
is($aws->requests->[0]{context}{pge_key_id}, 'Gr%C3%B6%C3%9Fe%20100%25', 'another name is written so that key policies can compare it');

#
# Aliases are resolved once.
#
is($admin->query("SELECT envelope_create_kek('alias', '$moved?instance=prod')"), $uri, 'of an alias its key is stored');
is($admin->query(q{SELECT uri FROM envelope.kek WHERE name = 'alias'}), $uri, 'as the table says');
for my $spelled ('aws-kms:///alias/moved?instance=prod', 'awskms:///alias/moved?region=eu-west-1&instance=prod',
	'aws-kms:///' . PgEnvelope::Moto::bare($arn{acme}) . '?instance=prod')
{
	$admin->query('BEGIN');
	is($admin->query("SELECT envelope_create_kek('spelled', '$spelled')"), $uri, "$spelled is stored as that, too");
	$admin->query('ROLLBACK');
}
$aws->ask('kms', 'update_alias', { AliasName => 'alias/moved', TargetKeyId => PgEnvelope::Moto::bare($arn{second}) });
$aws->requests;
$admin->query(q{SELECT envelope_create_key('by alias', 'alias')});
is_deeply([ map { "$_->{operation} $_->{key}" } @{ $aws->requests } ], [ "Encrypt $arn{acme}", "Decrypt $arn{acme}" ], 'who moves the alias moves no KEK');

#
# Rotations and rewraps.
#
my $rotated = $admin->query(q{SELECT envelope_rotate_kek('aws')});
like($rotated, qr/^(?!\Q$version\E)[0-9a-f]{64}$/, 'a rotation gives the key another material');
is_deeply(operations(), [qw(DescribeKey RotateKeyOnDemand DescribeKey)], 'and is looked after');
is(opened(), '4111-1111', 'what the old one wrapped opens');
$aws->requests;
is(rewrap('aws', 'aws'), "Größe 100%|1|rewrapped\nacme|1|rewrapped", 'a rewrap takes all to the new material');
is_deeply([ sort @{ operations() } ], [ ('Decrypt') x 2, 'DescribeKey', ('ReEncrypt') x 2 ], 'inside of AWS KMS, but for the proof');
is((split /\|/, wrapping('acme'))[1], $rotated, 'and says so');
like(rewrap('aws', 'aws'), qr/already\n.*already/, 'once is enough');
$admin->query("SELECT envelope_create_kek('main'); SELECT envelope_create_kek('second', '$arn{second}?instance=prod')");
$aws->requests;
is(rewrap('aws', 'second'), "Größe 100%|1|rewrapped\nacme|1|rewrapped", 'from one key of AWS KMS to another');
$seen = $aws->requests;
is_deeply([ sort map { $_->{operation} } @$seen ], [ ('Decrypt') x 2, ('ReEncrypt') x 2 ], 'inside of it');
is_deeply([ map { "$_->{source} $_->{key}" } grep { $_->{operation} eq 'ReEncrypt' } @$seen ], [ ("$arn{acme} $arn{second}") x 2 ], 'with both keys named');
is(opened(), '4111-1111', 'it opens');
is(rewrap('second', 'main') =~ s/[^\n]*\|rewrapped//gr, "\n", 'to the local keyring');
is(opened(), '4111-1111', 'it opens');
$admin->query(q{SELECT envelope_enable_kek('aws')});
is(rewrap('main', 'aws') =~ s/[^\n]*\|rewrapped//gr, "\n", 'and back');
is(opened(), '4111-1111', 'it opens');

#
# A rotation is never sent twice, and one whose answer gets lost is found.
#
$aws->requests;
$aws->set(fail => { RotateKeyOnDemand => { status => 500, code => 'KMSInternalException', after => 1 } });
like($admin->query(q{SELECT envelope_rotate_kek('aws')}), qr/^(?!\Q$rotated\E)[0-9a-f]{64}$/, 'it was done, whatever the answer was');
is_deeply(operations(), [qw(DescribeKey RotateKeyOnDemand DescribeKey)], 'and was sent once');
$aws->set(fail => { RotateKeyOnDemand => { status => 503, body => 'busy' } });
says('one that was not done', q{SELECT envelope_rotate_kek('aws')}, 'KE007', qr/may have been rotated: look at its rotations/);
is((grep { $_ eq 'RotateKeyOnDemand' } @{ operations() }), 1, 'was sent once, too');
$aws->set(fail => {}, materials => JSON::PP::false);
is($admin->query(q{SELECT envelope_rotate_kek('aws')}), '', 'where no material is told, the new version has no name');
is_deeply(operations(), [qw(DescribeKey ListKeyRotations RotateKeyOnDemand DescribeKey ListKeyRotations)], 'and the list of rotations tells that there was one');
$aws->set(materials => JSON::PP::true);

#
# Temporary keys, and another region.
#
$admin->query("SELECT envelope_create_kek('role', '$arn{acme}?instance=role'); SELECT envelope_create_key('role', 'role')");
is_deeply([ map { "$_->{signature} $_->{token}" } grep { $_->{operation} ne 'DescribeKey' } @{ $aws->requests } ], [ ('ok 1') x 4 ], 'temporary keys sign with their session token');
my $far = $aws->key('us-east-2');
is($admin->query("SELECT envelope_create_kek('far', '$far')"), "aws-kms://$far", 'the section of its region serves a key');
says('a region without a section', q{SELECT envelope_create_kek('nowhere', 'arn:aws:kms:us-west-2:123456789012:key/a')}, '22023', qr/No section \[aws NAME\] .* is for "us-west-2"/);
says('an account that is not allowed', q{SELECT envelope_create_kek('nowhere', 'arn:aws:kms:us-east-2:999999999999:key/a')}, '22023', qr/needs the line.*allow_keys = .*arn:aws:kms:us-east-2:999999999999:key\/a/);
says('an ARN of another service', q{SELECT envelope_create_kek('nowhere', 'aws-kms://arn:aws:s3:eu-west-1:123456789012:key/a')}, '22023', qr/no ARN of a key/);

#
# What is wrong there.
#
sub fails_to_open { my ($name, $state, $detail) = @_; flush(); return says($name, q{SELECT envelope_decrypt(sealed, 'acme') FROM acme}, $state, $detail); }
says('a wrong secret', "SELECT envelope_create_kek('wrong', '$arn{acme}?instance=wrong')", 'KE009', qr/AWS refuses the credential/);
$aws->allow('db', map { "kms:$_" } qw(Encrypt DescribeKey));
fails_to_open('a right that is missing', 'KE010', qr/AWS denies it\..*allow kms:Decrypt on the key/);
$aws->allow('db', map { "kms:$_" } qw(Encrypt Decrypt ReEncrypt* DescribeKey), @more);
is(opened(), '4111-1111', 'given back, it opens again');
$aws->ask('kms', 'disable_key', { KeyId => PgEnvelope::Moto::bare($arn{acme}) });
fails_to_open('a disabled key', 'KE011', qr/The key is disabled: enable it.*DisabledException/);
says('which makes no KEK either', "SELECT envelope_create_kek('disabled', '$uri')", 'KE011', qr/The key is disabled/);
$aws->ask('kms', 'enable_key', { KeyId => PgEnvelope::Moto::bare($arn{acme}) });
is(opened(), '4111-1111', 'enabled, it opens again');
$aws->ask('kms', 'schedule_key_deletion', { KeyId => PgEnvelope::Moto::bare($arn{pending}), PendingWindowInDays => 7 });
says('a key that is to be deleted', "SELECT envelope_create_kek('pending', '$arn{pending}?instance=prod')", 'KE011', qr/will be deleted on \d{4}-\d\d-\d\d \d\d:\d\d UTC/);
says('a key that is not there', q{SELECT envelope_create_kek('none', 'arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000000?instance=prod')}, 'KE012', qr/no such key/);
for my $case ([ 'throttling', 'KE008', { status => 400, code => 'ThrottlingException' }, qr/throttles/ ], [ 'an outage', 'KE007', { status => 503, body => '<html>' }, qr/HTTP 503/ ],
	[ 'another key in the answer', 'KE007', { status => 200, body => '{"KeyId":"' . $arn{second} . '","Plaintext":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="}' }, qr/not what AWS KMS answers/ ],
	[ 'a wrong context', 'KE013', { status => 400, code => 'InvalidCiphertextException' }, qr/another row/ ])
{
	my ($name, $state, $fault, $detail) = @$case;
	$aws->set(fail => { Decrypt => $fault });
	fails_to_open($name, $state, $detail);
}
$aws->set(fail => {});
is(opened(), '4111-1111', 'all of which passes');

#
# Clocks that differ.
#
$aws->requests;
$aws->set(clock => 3600);
is(opened(), '4111-1111', 'AWS an hour ahead of us: the request is signed for its time');
is_deeply([ map { "$_->{operation} $_->{status}" } @{ $aws->requests } ], [ 'Decrypt 400', 'Decrypt 200' ], 'once it has said it');
is(opened(), '4111-1111', 'and the next one');
is_deeply([ map { $_->{status} } @{ $aws->requests } ], [200], 'at once');
$aws->set(clock => 0);
is(opened(), '4111-1111', 'and when the clocks agree again');
is_deeply([ map { $_->{status} } @{ $aws->requests } ], [ 400, 200 ], 'it is asked again');
$aws->set(clock => 3 * 86400);
fails_to_open('days apart', 'KE009', qr/set this machine's clock.*more than a day/);
is_deeply([ map { $_->{status} } @{ $aws->requests } ], [400], 'are not followed');
$aws->set(clock => 0, fail => { Decrypt => { status => 400, code => 'RequestExpired' } });
fails_to_open('an error of time where the clocks agree', 'KE009', qr/set this machine's clock/);
is_deeply([ map { $_->{status} } @{ $aws->requests } ], [400], 'is not answered with another try');
$aws->set(fail => {});

#
# Destroying a KEK is scheduled, and called off.
#
my $doomed = "aws-kms://$arn{doomed}?instance=prod";
sub state_of { return $aws->ask('kms', 'describe_key', { KeyId => $_[0] })->{KeyMetadata}{KeyState}; }
sub changes { return [ map { $_->{operation} . ($_->{window} ? " $_->{window}" : '') } grep { $_->{operation} !~ /^(DescribeKey|Encrypt|Decrypt)$/ } @{ $aws->requests } ]; }
$admin->query("SELECT envelope_create_kek('doomed', '$doomed')");
$aws->requests;
$admin->query('SET client_min_messages = warning');
my (undef, $told) = $admin->try("SELECT envelope_destroy_kek('doomed', '$doomed')");
like($told, qr/AWS KMS deletes the key on \d{4}-\d\d-\d\d \d\d:\d\d UTC; until then envelope_enable_kek calls that off/, 'it is told until when that can be called off');
$admin->query('SET client_min_messages = error');
is_deeply(changes(), ['ScheduleKeyDeletion 30'], 'it is scheduled, as late as AWS takes it');
is(state_of($arn{doomed}), 'PendingDeletion', 'there');
$admin->query(q{SELECT envelope_enable_kek('doomed')});
is_deeply(changes(), [qw(CancelKeyDeletion EnableKey)], 'called off, the key is enabled as well');
is(state_of($arn{doomed}), 'Enabled', 'there');
$admin->query("BEGIN; SELECT envelope_create_key('saved', 'doomed'); ROLLBACK");
$aws->requests;
$aws->set(fail => { ScheduleKeyDeletion => { status => 500, body => '', after => 1 } });
$admin->query("SELECT envelope_destroy_kek('doomed', '$doomed', immediate => true)");
is_deeply(changes(), ['ScheduleKeyDeletion 7'], 'as soon as AWS takes it, once, and found done though the answer was lost');
$aws->set(fail => { CancelKeyDeletion => { status => 500, body => '', after => 1 }, EnableKey => { status => 500, body => '', after => 1 } });
$admin->query(q{SELECT envelope_enable_kek('doomed')});
is_deeply(changes(), [qw(CancelKeyDeletion EnableKey)], 'and so is the way back');
$aws->set(fail => { ScheduleKeyDeletion => { status => 503, body => '' } });
says('one that was not scheduled', "SELECT envelope_destroy_kek('doomed', '$doomed')", 'KE007', qr/deletion is not scheduled/);
$aws->set(fail => {});
is(state_of($arn{doomed}), 'Enabled', 'is not');
$aws->requests;

#
# A probe.
#
my ($out) = run_command([ "$ENV{PGE_BINDIR}/pg_envelope_agent", 'probe', '--config', "$dir/kms.conf", $uri ]);
is($? >> 8, 0, 'probe: exit status 0') or diag($out);
is_deeply([ $out =~ /^ok +(\w+)/mg ], [qw(config dns tcp login key wrap unwrap)], 'and every step');
($out) = run_command([ "$ENV{PGE_BINDIR}/pg_envelope_agent", 'probe', '--config', "$dir/kms.conf", 'aws-kms:///alias/moved?instance=prod' ]);
is($? >> 8, 0, 'probe of an alias, too') or diag($out);
($out) = run_command([ "$ENV{PGE_BINDIR}/pg_envelope_agent", 'probe', '--config', "$dir/kms.conf", "$arn{acme}?instance=wrong" ]);
like($out, qr/^FAIL key +AWS refuses the credential/m, 'probe with a wrong secret says so');

#
# No secret is told anywhere.
#
my %secret = (secret => $user->{secret}, 'session token' => $role->{token}, 'secret of a role' => $role->{secret}, 'wrong secret' => $wrong->{secret});
my %place = (log => PostgreSQL::Test::Utils::slurp_file($node->logfile), probe => $out,
	views => $admin->query(q{SELECT string_agg(t::text, ' ') FROM (SELECT * FROM envelope_status()) t}) . $admin->query(q{SELECT string_agg(t::text, ' ') FROM envelope.kek t}) . $admin->query('SELECT string_agg(a::text, \' \') FROM pg_stat_activity a'));
my $children = PgEnvelope::Cluster::process_tree();
my @pids = ($node->postmaster_pid);
push @pids, map { @{ $children->{$_} // [] } } @pids, @{ $children->{ $node->postmaster_pid } // [] };
for my $what (qw(cmdline environ))
{
	# (not all of them let their environment be read)
	$place{$what} = join ' ', map { PgEnvelope::Cluster::read_proc("$_/$what") // '' } @pids;
}
for my $name (sort keys %secret)
{
	is_deeply([ grep { index($place{$_}, $secret{$name}) >= 0 } sort keys %place ], [], "no $name in log, views, probe, command lines or environments");
}
ok(index($place{log}, 'AWS refuses the credential') >= 0 && index($place{views}, $arn{acme}) >= 0 && $place{cmdline} =~ /pg_envelope_agent/ && index($place{environ}, 'PATH=') >= 0, '(where others are found)');

#
# README's steps, with a key, an endpoint and a credential that are here.
#
my $lines = PgEnvelope::Moto::readme('aws configuration');
cmp_ok(scalar(split /\n/, $lines), '<=', 10, 'its configuration has ten lines at most');
PgEnvelope::Moto::write_file("$dir/readme.conf", $lines);
my ($understood) = run_command([ "$ENV{PGE_BINDIR}/pg_envelope_agent", 'check-config', "$dir/readme.conf" ]);
is($? >> 8, 0, 'it is understood as it stands') or diag($understood);
is($lines =~ s/111122223333/123456789012/g, 1, 'with an account');
is($lines =~ s/^auth = imds.*$/join "\n", grep { !m{^(?:\[|region|allow)} } split m{\n}, $aws->section('prod', $user, '')/me, 1, 'an endpoint and a credential');
PgEnvelope::Moto::write_file("$dir/kms.conf", $lines);
$node->restart;
my $steps = PgEnvelope::Moto::readme('aws sql') =~ s/arn:aws:kms:eu-west-1:111122223333:key\/[-0-9a-f]+/$arn{second}/gr;
$node->safe_psql('postgres', 'CREATE DATABASE readme');
is($node->safe_psql('readme', "CREATE EXTENSION pg_envelope; $steps"), "aws-kms://$arn{second}\n1", 'its SQL');
is($node->safe_psql('readme', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(envelope_encrypt('value', 'acme'), 'acme')}) =~ s/^\d+\n//r, 'value', 'a value opens');

done_testing();
