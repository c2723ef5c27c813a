/* What a container asks of networks: Docker's endpoint settings, checked and kept. */
#include "engine/endpoint_priv.h"

int endpoint__check_settings(const json_t *settings, const char *where, struct err *err)
{
    static const char *const unsupported[] = {"GlobalIPv6Address", "DriverOpts"};
    _cleanup_strv_ char **aliases = NULL;
    json_t *ipam = NULL;
    const char *v6 = "", *v4 = "", *mac = "";
    if (json_is_null(settings))
        return 0;
    if (!json_is_object(settings))
        return err_set(err, ERR_INVALID, "\"%s\" must be an object", where);
    int r = json_get_strv(settings, where, "Aliases", &aliases, err);
    if (r == 0)
        r = json_get_object(settings, where, "IPAMConfig", &ipam, err);
    if (r == 0)
        r = json_get_string(settings, where, "MacAddress", &mac, err);
    if (r == 0 && ipam)
        r = json_get_string(ipam, where, "IPv4Address", &v4, err);
    if (r == 0 && ipam)
        r = json_get_string(ipam, where, "IPv6Address", &v6, err);
    if (r < 0)
        return r;
    if (*v6)
        return err_set(err, ERR_UNSUPPORTED, "\"%s.IPAMConfig.IPv6Address\" is not supported", where);
    for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++) {
        const json_t *value = json_object_get(settings, unsupported[i]);
        if ((json_is_string(value) && json_string_length(value)) || json_object_size(value))
            return err_set(err, ERR_UNSUPPORTED, "\"%s.%s\" is not supported", where, unsupported[i]);
    }
    return 0;
}

static json_t *settings_new(const struct network *n, const json_t *wished, const char *container_id)
{
    static const char *const empty[] = {"EndpointID", "Gateway", "IPAddress", "IPv6Gateway",
                                        "GlobalIPv6Address"};
    json_t *o = json_object();
    const json_t *ipam = json_object_get(wished, "IPAMConfig"), *aliases = json_object_get(wished, "Aliases"),
                 *links = json_object_get(wished, "Links");
    json_object_set_new(o, "IPAMConfig", json_is_object(ipam) ? json_deep_copy(ipam) : json_null());
    json_object_set_new(o, "Links", json_is_array(links) ? json_deep_copy(links) : json_null());
    json_t *names = json_is_array(aliases) ? json_deep_copy(aliases) : json_array();
    if (n->dns) {
        char short_id[13];
        snprintf(short_id, sizeof(short_id), "%.12s", container_id);
        json_array_append_new(names, json_string(short_id));
    }
    json_object_set_new(o, "Aliases", n->predefined ? json_null() : json_incref(names));
    json_decref(names);
    json_set_str(o, "NetworkID", n->id);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        json_set_str(o, empty[i], "");
    json_object_set_new(o, "IPPrefixLen", json_integer(0));
    json_object_set_new(o, "GlobalIPv6PrefixLen", json_integer(0));
    json_set_str(o, "MacAddress", json_str(wished, "MacAddress"));
    json_object_set_new(o, "DriverOpts", json_null());
    return o;
}

/* One network of the plan; engine.lock held. */
int endpoint__plan_one(struct engine *e, const char *ref, const json_t *wished, const char *id,
                       json_t *networks, struct err *err)
{
    const struct network *n = network__find(e, strcmp(ref, "default") == 0 ? "bridge" : ref, err);
    if (!n)
        return -ERR_NOT_FOUND;
    const char *address = json_str(json_object_get(wished, "IPAMConfig"), "IPv4Address");
    if (*address && n->predefined)
        return err_set(err, ERR_INVALID,
                       "user specified IP address is supported on user defined networks only");
    if (*address && !net_address_in_subnet(address, n->subnet))
        return err_set(err, ERR_INVALID, "address %s is not in subnet %s of network %s", address, n->subnet,
                       n->name);
    json_object_set_new(networks, n->name, settings_new(n, wished, id));
    return 0;
}

int endpoint__plan(struct engine *e, const json_t *body, const char *container_id, json_t **ret,
                   struct err *err)
{
    const char *mode = network__mode(json_object_get(body, "HostConfig"));
    json_t *wishes = NULL, *wished;
    int r = json_get_object(json_object_get(body, "NetworkingConfig"), "NetworkingConfig", "EndpointsConfig",
                            &wishes, err);
    if (r < 0)
        return r;
    const char *name;
    json_object_foreach (wishes, name, wished)
        if ((r = endpoint__check_settings(wished, "NetworkingConfig.EndpointsConfig", err)) < 0)
            return r;
    _cleanup_json_ json_t *networks = json_object();
    if (!str_after(mode, "container:")) {
        SCOPED_LOCK(lock, &e->lock);
        const struct network *first = network__find(e, mode, err);
        if (!first)
            return -ERR_NOT_FOUND;
        /* The mode's own network may be wished for by its name, its id, or the mode's word. */
        json_t *own = json_object_get(wishes, mode);
        if (!own)
            own = json_object_get(wishes, first->name);
        if (!own)
            own = json_object_get(wishes, first->id);
        if (!own)
            own = strcmp(mode, "bridge") == 0 ? json_object_get(wishes, "default") : NULL;
        r = endpoint__plan_one(e, mode, own, container_id, networks, err);
        json_t *main_ = json_object_get(networks, first->name);
        if (r == 0 && !*json_str(main_, "MacAddress")) /* --mac-address is the first network's */
            json_set_str(main_, "MacAddress", json_str(body, "MacAddress"));
        json_object_foreach (wishes, name, wished)
            if (r == 0 && wished != own)
                r = endpoint__plan_one(e, name, wished, container_id, networks, err);
        if (r < 0)
            return r;
    } else if (json_object_size(wishes))
        return err_set(err, ERR_CONFLICT,
                       "conflicting options: a container that shares another's network cannot join networks");
    *ret = take_ptr(networks);
    return 0;
}
