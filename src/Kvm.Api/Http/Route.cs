namespace Kvm.Api.Http;

/// <summary>Does what a request asks for. On a thread of the pool, several at a time.</summary>
/// <param name="request">The request, checked by its route.</param>
/// <exception cref="Kvm.Vmm.VmmException">It cannot be done: told to the client by <see cref="ApiRefusal"/>.</exception>
internal delegate Task<ApiAnswer> RouteHandler(ApiRequest request);

/// <summary>A word behind the question mark that a route understands.</summary>
/// <param name="Name">The word.</param>
/// <param name="Says">What it means.</param>
internal sealed record QueryWord(string Name, string Says);

/// <summary>One thing that can be asked: a row of the table by which requests are handled and of which the OpenAPI document is made. Immutable.</summary>
/// <param name="Method">The HTTP method.</param>
/// <param name="Template">The path: words and <c>{names}</c> of parameters, each a segment of its own.</param>
/// <param name="Summary">What it does, half a sentence.</param>
/// <param name="Handler">Does it.</param>
internal sealed record Route(string Method, string Template, string Summary, RouteHandler Handler)
{
    /// <summary>What the request brings; null where it brings nothing.</summary>
    public ApiBody? Takes { get; init; }

    /// <summary>Whether it may bring nothing too.</summary>
    public bool MayBeEmpty { get; init; }

    /// <summary>What the answer has; null where it has nothing.</summary>
    public ApiBody? Gives { get; init; }

    /// <summary>The status of an answer that is no refusal.</summary>
    public int Status { get; init; } = 200;

    /// <summary>Words behind the question mark; others are refused.</summary>
    public IReadOnlyList<QueryWord> Query { get; init; } = [];

    /// <summary>The template's segments.</summary>
    public IReadOnlyList<string> Segments { get; } = Template.Split('/', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The name of a segment that is a parameter; null for a word.</summary>
    public static string? ParameterOf(string segment) => segment is ['{', .., '}'] ? segment[1..^1] : null;

    /// <summary>Whether a path is of this template.</summary>
    /// <param name="path">The path's segments.</param>
    /// <param name="parameters">What stands where the template has parameters.</param>
    public bool Matches(IReadOnlyList<string> path, Dictionary<string, string> parameters)
    {
        if (path.Count != Segments.Count)
            return false;
        for (int i = 0; i < path.Count; i++)
        {
            if (ParameterOf(Segments[i]) is { } name)
                parameters[name] = path[i];
            else if (Segments[i] != path[i])
                return false;
        }

        return true;
    }
}
