# What the owner of a database put there before CREATE EXTENSION runs neither in
# its script nor later in ours, which both run as a superuser.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', extension => 0);
$node->safe_psql('postgres', $_) for 'CREATE ROLE planter LOGIN', 'CREATE DATABASE planted OWNER planter';

# Better matches than the server's own, which take any array or a regclass.
$node->safe_psql('planted', q{
	SET ROLE planter;
	CREATE TABLE public.ran (what text);
	GRANT INSERT ON public.ran TO PUBLIC;
	CREATE FUNCTION public.caught(what text) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO public.ran VALUES (what || ' as ' || current_user) $$;
	CREATE FUNCTION public.pg_extension_config_dump(text, text) RETURNS void LANGUAGE sql
		AS $$ SELECT public.caught('config_dump') $$;
	CREATE FUNCTION public.cardinality(text[]) RETURNS integer LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM public.caught('cardinality'); RETURN 1; END $$;
	CREATE FUNCTION public.array_position(text[], text) RETURNS integer LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM public.caught('array_position'); RETURN NULL; END $$;
	CREATE FUNCTION public.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql
		AS $$ BEGIN PERFORM public.caught('unnest'); RETURN; END $$;
	CREATE FUNCTION public.contained(text[], text[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM public.caught('contained'); RETURN true; END $$;
	CREATE OPERATOR public.<@ (LEFTARG = text[], RIGHTARG = text[], FUNCTION = public.contained);
	CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM public.caught('same'); RETURN true; END $$;
	CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
	CREATE FUNCTION public.joined(text[], text[]) RETURNS text[] LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM public.caught('joined'); RETURN $1; END $$;
	CREATE OPERATOR public.|| (LEFTARG = text[], RIGHTARG = text[], FUNCTION = public.joined);
});
is($node->safe_psql('planted', q{SELECT cardinality(ARRAY['a', 'b'])}), '1', 'what is planted is what plain SQL finds');
$node->safe_psql('planted', 'DELETE FROM public.ran');
$node->create_extension('planted');
is($node->safe_psql('planted', 'SELECT DISTINCT what FROM public.ran'), '', 'CREATE EXTENSION runs none of it');

# Nor do our statements, under whatever path the caller has.
for my $path ('public, pg_catalog', 'pg_temp, public, pg_catalog')
{
	my $n = length $path;
	$node->safe_psql('planted', qq{
		SET client_min_messages = error;
		CREATE TEMP TABLE kek (name text);
		SET search_path = $path;
		SELECT envelope_create_kek('a$n'), envelope_create_kek('b$n');
		SELECT envelope_create_key('k$n', 'a$n');
		SELECT envelope_rotate_key('k$n');
		SELECT envelope_grant('k$n', 'planter', '{encrypt}');
		SELECT envelope_grant('k$n', 'planter', '{decrypt}');
		SELECT envelope_revoke('k$n', 'planter', '{encrypt}');
		SELECT rewrap_all('a$n', 'b$n');
		SELECT envelope_decrypt(envelope_encrypt('v', 'k$n'), 'k$n');
		SELECT envelope_disable_key('k$n');
		SELECT envelope_destroy_key('k$n');
	});
	is($node->safe_psql('planted', 'SELECT DISTINCT what FROM public.ran'), '', "nothing runs under search_path $path");
	is($node->safe_psql('planted', "SELECT rights FROM envelope.key_grant WHERE role_name = 'planter' AND key_id = 'k$n'"),
		'{decrypt}', 'and the rows are right');
}

$node->stop;
done_testing();
