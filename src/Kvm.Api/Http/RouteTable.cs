using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Http;

/// <summary>All that a server can be asked. Immutable.</summary>
/// <param name="Title">What it is called in its OpenAPI document.</param>
/// <param name="Routes">The rows; the first that a path fits is taken.</param>
/// <param name="Refuse">How a refusal is told: <see cref="ApiRefusal.ToAnswer"/>, or another API's own way.</param>
internal sealed record RouteTable(string Title, IReadOnlyList<Route> Routes, Func<ApiRefusal, ApiAnswer> Refuse)
{
    /// <summary>The row for a request.</summary>
    /// <param name="method">Its method.</param>
    /// <param name="path">Its path, decoded.</param>
    /// <param name="parameters">What stands where the template has parameters.</param>
    /// <exception cref="ApiRefusal">404: there is no such path; 405: not in this way.</exception>
    public Route Find(string method, string path, out Dictionary<string, string> parameters)
    {
        string[] segments = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        SortedSet<string> allowed = new(StringComparer.Ordinal);
        foreach (var route in Routes)
        {
            parameters = [];
            if (!route.Matches(segments, parameters))
                continue;
            if (route.Method == method)
                return route;
            allowed.Add(route.Method);
        }

        if (allowed.Count > 0)
            throw new ApiRefusal(405, ApiErrors.WrongMethod, $"{VisibleText.Quote(path, 100)} takes {string.Join(", ", allowed)}, not {VisibleText.Escape(method)}") { Allow = string.Join(", ", allowed) };
        string? near = NearestName.Find(path, Routes.Where(route => !route.Template.Contains('{')).Select(route => route.Template));
        throw new ApiRefusal(404, ApiErrors.NoSuchPath, near is null ? $"{VisibleText.Quote(path, 100)} is not there" : $"{VisibleText.Quote(path, 100)} is not there; did you mean {near}?");
    }
}
