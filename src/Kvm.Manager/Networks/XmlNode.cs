using System.Text;
using System.Xml;

namespace Kvm.Manager.Networks;

/// <summary>
/// An element of a small XML document: what of it matters here. Read by the framework's reader that knows no DTD and no entities of one, within bounds.
/// (The other readers bring validation and much else into the executable: two megabytes of memory of every start.) Immutable.
/// </summary>
internal sealed class XmlNode
{
    private const int MostBytes = 1 << 20, MostDepth = 32;

    private readonly StringBuilder _text = new();
    private readonly List<XmlNode> _children = [];
    private readonly List<KeyValuePair<string, string>> _attributes = [];

    private XmlNode(string name) => Name = name;

    /// <summary>Its name, without a prefix.</summary>
    public string Name { get; }

    /// <summary>Its own text.</summary>
    public string Text => _text.ToString().Trim();

    /// <summary>The elements in it.</summary>
    public IReadOnlyList<XmlNode> Children => _children;

    /// <summary>Its attributes, but declarations of namespaces.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Attributes => _attributes;

    /// <summary>The value of an attribute; null where it has none of that name.</summary>
    public string? this[string attribute] => _attributes.Find(one => one.Key == attribute).Value;

    /// <summary>The first element of a name, or null.</summary>
    public XmlNode? First(string name) => _children.Find(child => child.Name == name);

    /// <summary>All elements of a name.</summary>
    public IEnumerable<XmlNode> All(string name) => _children.Where(child => child.Name == name);

    /// <summary>The root of a document.</summary>
    /// <param name="document">UTF-8, 1 MiB and 32 levels at most.</param>
    /// <exception cref="XmlException">It is no XML, or has more than is read here.</exception>
    public static XmlNode Parse(ReadOnlySpan<byte> document)
    {
        if (document.Length > MostBytes)
            throw new XmlException($"it has more than {MostBytes} bytes");
        var bounds = new XmlDictionaryReaderQuotas { MaxDepth = MostDepth + 1, MaxStringContentLength = MostBytes, MaxBytesPerRead = MostBytes, MaxNameTableCharCount = MostBytes };
        using var reader = XmlDictionaryReader.CreateTextReader(document.ToArray(), bounds);
        var open = new Stack<XmlNode>();
        XmlNode? root = null;
        while (reader.Read())
        {
            switch (reader.NodeType)
            {
                case XmlNodeType.Element when open.Count == MostDepth:
                    throw new XmlException($"it is deeper than {MostDepth} levels");
                case XmlNodeType.Element:
                    bool isEmpty = reader.IsEmptyElement;
                    var element = Begin(reader);
                    if (open.TryPeek(out var parent))
                        parent._children.Add(element);
                    root ??= element;
                    if (!isEmpty)
                        open.Push(element);
                    break;
                case XmlNodeType.EndElement:
                    open.Pop();
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.Whitespace or XmlNodeType.SignificantWhitespace when open.TryPeek(out var within):
                    within._text.Append(reader.Value);
                    break;
            }
        }

        return root ?? throw new XmlException("it has no element");
    }

    private static XmlNode Begin(XmlDictionaryReader reader)
    {
        const string declarations = "http://www.w3.org/2000/xmlns/";
        var element = new XmlNode(reader.LocalName);
        while (reader.MoveToNextAttribute())
        {
            if (reader.NamespaceURI != declarations)
                element._attributes.Add(new(reader.LocalName, reader.Value));
        }

        return element;
    }
}
