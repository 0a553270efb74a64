# Destroying a KEK in OpenBao and in the local keyring: what it had wrapped opens nowhere any more;
# whoever may not, or has not thought of all that needs it, is refused; and an answer that gets lost leaves
# one consistent end.  And a KEK whose service has moved: the same key, or none.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use JSON::PP;
use PgEnvelope::Between;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my @keys = qw(acme lost moved other);
$bao->ask(POST => "transit/keys/$_", { type => 'aes256-gcm96', derived => JSON::PP::true }) for @keys;
my $between = PgEnvelope::Between->new($bao, qr{^DELETE });
my $server = $between->server;
my $everyday = $bao->least_policy(@keys) . qq(path "nowhere/keys/k" { capabilities = ["read"] }\n);
my $role = $bao->approle('db', $everyday);
my $corp = "[vault corp]\naddress = http://$server\n$role->{lines}allow_keys = transit/keys/*, nowhere/keys/*\n";
PgEnvelope::Cluster::replace_file("$dir/kms.conf", $corp);
my $node = PgEnvelope::Cluster->new('destroy', 'pg_envelope.kms_config_file' => "$dir/kms.conf");
my %uri = map { ($_ => "vault://$server/transit/keys/$_") } @keys;

sub sql { my ($sql, $database) = @_; return $node->safe_psql($database // 'postgres', "SET client_min_messages = error; $sql"); }
sub state { my ($kek) = @_; return sql("SELECT state FROM envelope.kek WHERE name = '$kek'"); }
sub destroy { my ($kek) = @_; return "SELECT envelope_destroy_kek('$kek', '$uri{$kek}', immediate => true)"; }
sub there { my ($key) = @_; return ($bao->request(GET => "transit/keys/$key"))[0] == 200; }
# How often, since it was last looked at: each thing "OPERATION PATH".
sub asked { my %wanted = map { ($_ => 1) } @_; return scalar grep { $wanted{"$_->{operation} $_->{path}"} } @{ $bao->audited }; }
sub configure { $node->configure_services("$dir/kms.conf", join('', @_)); return; }

# README's, for these keys.
my ($readme) = slurp_file("$FindBin::RealBin/../../README.md") =~ /<!-- vault destroy policy -->\n```hcl\n(.*?)```/s or BAIL_OUT('README');
my $destroying = join '', map { $readme =~ s/acme/$_/gr } qw(acme lost);
my ($steps) = slurp_file("$FindBin::RealBin/../../README.md") =~ /<!-- shredding sql -->\n```sql\n(.*?)```/s or BAIL_OUT('README');
is($steps =~ s{'vault://\S+?'}{'$uri{acme}'}, 1, "README's steps name a KEK");

sql("SELECT envelope_create_kek('$_', '$uri{$_}')") for @keys;
sql("SELECT envelope_create_kek('alias', '$uri{acme}'), envelope_create_kek('twin', '$uri{moved}'), envelope_create_kek('local')");
sql("SELECT envelope_create_key('acme', 'alias'), envelope_create_key('home', 'local'), envelope_create_key('mover', 'moved')");
sql(q{CREATE TABLE t AS SELECT k, envelope_encrypt('value of ' || k, k) AS sealed FROM unnest(ARRAY['acme', 'home', 'mover']) k});
my $open = q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, k) FROM t WHERE k = '%s'};
sub opens { my ($key, $database) = @_; return sql(sprintf($open, $key), $database) =~ s/^\d+\n//r; }

# What a backup is: all of it, as it is now.
$node->safe_psql('template1', 'CREATE DATABASE backup TEMPLATE postgres');
is(opens($_, 'backup'), "value of $_", "a backup opens what was sealed under $_") for qw(acme home);

#
# Who may not.
#
my $err = $node->fails_with(destroy('lost'), 'KE010', 'by default SQL destroys no KEK');
like($err, qr/^DETAIL:  Section \[vault corp\] of pg_envelope\.kms_config_file .* allow_destroy = on$/m, 'the line to add is told');
is(asked('delete transit/keys/lost', 'update transit/keys/lost/config'), 0, 'and the service is not asked');
$err = $node->fails_with(q{SELECT envelope_destroy_kek('local', uri, true) FROM envelope.kek WHERE name = 'local'}, '55000', 'one of the local keyring that is needed');
configure("${corp}allow_destroy = on\n[local]\nallow_destroy = on\n");
$err = $node->fails_with(destroy('acme'), '55000', 'nor one that is needed under another name');
like($err, qr/^DETAIL:  KEK "alias" wraps version 1 of key "acme"\.$/m, 'which is told');
$err = $node->fails_with(destroy('lost') =~ s/, immediate => true//r, '22023', 'what cannot be called off needs "immediate"');
like($err, qr/^DETAIL:  The service deletes a key at once .* say immediate => true\./m, 'as is told');
$err = $node->fails_with(destroy('lost'), 'KE010', 'nor one that the service does not let it');
like($err, qr{^DETAIL:  .*give the agent's policy "update" on transit/keys/lost/config\.}m, 'whose policy is named');
$bao->policy('db', $everyday . qq(path "transit/keys/lost/config" { capabilities = ["update"] }\n));
$err = $node->fails_with(destroy('lost'), 'KE010', 'half a policy');
like($err, qr{^DETAIL:  .*"delete" on transit/keys/lost\..*was not deleted, but its deletion_allowed is on}m, 'and how things are');
ok(there($_), "key $_ is there") for qw(acme lost);
is(join(' ', map { state($_) } qw(acme alias lost)), 'enabled enabled enabled', 'and the rows say so');

#
# A tenant's data, for good: README's steps.
#
$bao->policy('db', $everyday . $destroying);
$bao->audited;
my ($out, $said) = $node->try($steps);
unlike($said, qr/ERROR/, 'all of them are taken');
like($out, qr/^\Q$uri{acme}\E$/m, 'and the URI is where they look');
like($said, qr/WARNING:  01000: KEK "acme" is destroyed\nDETAIL:  Key "transit\/keys\/acme" of \[vault corp\] is deleted, which is final\./, 'a KEK is destroyed, and a warning says that it is final');
like($said, qr/NOTICE:  00000: KEK "alias" is the same key, and is destroyed with it/, 'its other name with it');
like($said, qr/NOTICE:  00000: backups made before .* need KEK "acme"\nDETAIL:  .*Other databases that use the key cannot be seen from here\./, 'and who may need it');
is(asked('delete transit/keys/acme'), 1, 'the service was asked once');
ok(!there('acme'), 'the key is gone');
is(join(' ', map { state($_) } qw(acme alias lost)), 'destroyed destroyed enabled', 'both rows say so, and no other');
$node->fails_with(sprintf($open, 'acme'), 'KE005', 'what was sealed here opens no more', dbname => 'postgres');
$node->fails_with(sprintf($open, 'acme'), 'KE012', 'and not in the backup', dbname => 'backup');
is(opens('home', 'backup'), 'value of home', 'what others have sealed does');
$err = $node->fails_with(q{SELECT envelope_enable_kek('acme')}, 'KE012', 'nothing calls that off');
like($err, qr/KEK "acme" is destroyed for good\nDETAIL:  The service has no key of this name/, 'as is told');
$node->fails_with(q{SELECT envelope_create_key('late', 'acme')}, 'KE011', 'nothing is wrapped under it');
(undef, $said) = $node->try(destroy('acme'));
like($said, qr/WARNING:  01000: KEK "acme" is noted as destroyed: its key service does not have it/, 'it may be said again');
(undef, $said) = $node->try(qq{SELECT envelope_disable_key('acme'); SELECT envelope_destroy_key('acme'); SELECT envelope_destroy_kek('alias', '$uri{acme}')}, dbname => 'backup');
like($said, qr/immediate => true/, 'elsewhere the same is asked of whoever destroys');
(undef, $said) = $node->try(qq{SELECT envelope_destroy_kek('alias', '$uri{acme}', true)}, dbname => 'backup');
like($said, qr/KEK "alias" is noted as destroyed/, 'another database notes what is gone already');

# What is not where it is looked for may be elsewhere: no reason to believe it gone.
sql("INSERT INTO envelope.kek (name, uri) VALUES ('nowhere', 'vault://$server/nowhere/keys/k')");
$err = $node->fails_with(qq{SELECT envelope_destroy_kek('nowhere', 'vault://$server/nowhere/keys/k', true)}, '22023', 'where its engine is missing no key is noted as destroyed');
like($err, qr/^DETAIL:  The service has no Transit engine at this mount\. So it is not known whether the key is anywhere\./m, 'as is told');
is(state('nowhere'), 'enabled', 'and the row says nothing else');

#
# Lost on the way.
#
$bao->audited;
$between->lose('request');
$err = $node->fails_with(destroy('lost'), 'KE007', 'a request that never arrives');
like($err, qr/^DETAIL:  .*The key is still there/m, 'says what has become of it');
ok($between->has_lost, 'it was lost');
is(state('lost'), 'enabled', 'the row says the same');
is(asked('delete transit/keys/lost'), 0, 'nothing was deleted');
$between->lose('answer');
(undef, $said) = $node->try(destroy('lost'));
like($said, qr/WARNING:  01000: KEK "lost" is destroyed\nDETAIL:  .*is deleted, which is final/, 'one whose answer is lost has destroyed it, and says so');
ok($between->has_lost, 'it was lost');
is(asked('delete transit/keys/lost'), 1, 'and was not sent again');
ok(!there('lost'), 'the key is gone');
is(state('lost'), 'destroyed', 'and the row says so');

#
# The local keyring, which shreds nothing.
#
$uri{local} = sql(q{SELECT uri FROM envelope.kek WHERE name = 'local'});
sql(q{SELECT envelope_create_kek('next')});
sql(q{SELECT rewrap_all('local', 'next')});
copy($node->keyring_file, "$dir/keyring.copy") or die $!;
(undef, $said) = $node->try(destroy('local'));
like($said, qr/WARNING:  01000: KEK "local" is destroyed\nDETAIL:  It is out of keyring file .* copies and backups of the file, .* still have it\./, 'a KEK of the local keyring, and that copies keep it');
my ($list) = run_command([ $node->agent_command, 'keyring', 'list', '--keyring', $node->keyring_file ]);
my ($next) = sql(q{SELECT uri FROM envelope.kek WHERE name = 'next'}) =~ /^local:(.+)/;
ok($list =~ /$next/ && $list !~ /@{[ $uri{local} =~ s{^local:}{}r ]}/, 'its file has the others');
is(opens('home'), 'value of home', 'what was moved off it opens');
$node->fails_with(sprintf($open, 'home'), 'KE012', 'the backup does not', dbname => 'backup');
$node->fails_with(q{SELECT envelope_enable_kek('local')}, 'KE012', 'it is gone');
PgEnvelope::Cluster::replace_file($node->keyring_file, PgEnvelope::Cluster::slurp_binary("$dir/keyring.copy"));
(undef, $said) = $node->try(q{SELECT envelope_enable_kek('local')});
like($said, qr/NOTICE:  00000: KEK "local" is there again/, 'with a copy of the file it is not');
is(state('local'), 'enabled', 'and wraps again');
is(opens('home', 'backup'), 'value of home', 'as the backup does');

#
# A service that moved: another address, and another section.
#
$bao->ask(POST => "transit/keys/$_/rotate") for qw(moved other);
sql(q{SELECT envelope_rotate_key('mover')});
is(sql(q{SELECT string_agg(DISTINCT kek_version, ' ') FROM envelope.wrapping WHERE kek = 'moved' AND superseded IS NULL}), '1 2', '(two versions of a KEK wrap)');
my $new = 'vault://' . $bao->server . '/transit/keys';
configure($bao->section('new', "$role->{lines}allow_keys = transit/keys/*"));
$node->fails_with(sprintf($open, 'mover'), '22023', 'where the service was there is none');
$err = $node->fails_with(qq{SELECT envelope_alter_kek('moved', '$new/other')}, '22023', 'another key is not it');
like($err, qr{"\Q$new\E/other" is another key than KEK "moved"\nDETAIL:  Version "[12]" of the KEK wrapped version [12] of key "mover", which does not open there: }, 'as is told');
is(sql(q{SELECT uri FROM envelope.kek WHERE name = 'moved'}), $uri{moved}, 'and nothing has changed');
($out, $said) = $node->try(qq{SELECT envelope_alter_kek('moved', 'https://@{[ $bao->server ]}/v1/transit/keys/moved')});
is($out, "$new/moved", 'the same key at its new address is, in its one spelling');
like($said, qr/NOTICE:  00000: KEK "twin" still has the URI that KEK "moved" had/, 'who else has the old one is told');
is(opens('mover'), 'value of mover', 'and values open');
is(sql(q{SELECT envelope_rotate_key('mover')}), '3', 'and are sealed');
configure(map { $bao->section($_, "$role->{lines}allow_keys = transit/keys/*") } qw(new second));
$err = $node->fails_with(sprintf($open, 'mover'), '22023', 'with a second section for it');
like($err, qr/\?instance=NAME/, 'it has to be said which');
is(sql(qq{SELECT envelope_alter_kek('moved', '$new/moved?instance=second')}), "$new/moved?instance=second", 'which is said');
is(opens('mover'), 'value of mover', 'and values open again');
$err = $node->fails_with(qq{SELECT envelope_alter_kek('acme', '$new/acme?instance=second')}, 'KE011', 'a destroyed KEK has no other URI');

$node->stop;
done_testing();
